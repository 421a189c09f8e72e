"""The walk over a stream: sections, RAM records, device bodies, as typed records with offsets."""
