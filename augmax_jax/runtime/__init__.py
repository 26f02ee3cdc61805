"""What every room may use: devices, keys, files, error messages. It imports no other room."""
