"""Reading an untrusted tar.gz to its very end, without ever writing to a path that a member chose."""
