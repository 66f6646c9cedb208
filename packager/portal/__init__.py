"""The portal's contract: its requests, identities, records, credentials and replies."""
