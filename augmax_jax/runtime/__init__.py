"""Tools for every room: devices, keys, files, errors. It imports no other room."""
