"""What several tests share: toy networks, pictures, stores, and the processes that tests start."""
