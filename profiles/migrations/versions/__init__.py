"""One file for each revision of the schema, never changed after its release."""
