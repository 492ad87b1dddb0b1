"""Judges that are language models: one prompt, one strict verdict, one small file for each wire format."""
