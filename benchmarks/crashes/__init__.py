"""What crashes and requests to end leave behind, however often and at whatever moment they come."""
