"""What services may be told, a group of the one configuration file each."""
