"""The rooms: tensors and text in, tensors and text out. Nothing in here prints, reads settings or knows a command."""
