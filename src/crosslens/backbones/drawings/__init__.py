"""What ``lite`` learned of drawings from icon sets: weights, the names they bore and who drew them."""
