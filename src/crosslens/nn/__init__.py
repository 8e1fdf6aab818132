"""Small networks and the momentum encoder that training needs."""
