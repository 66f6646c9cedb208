"""The portal's contract: requests, users, records, credentials and replies."""
