"""Features of images: embedding jobs, shards on disk, the cache."""
