"""What you type and see: one function per command."""
