"""The editor: serves a page that composites in the browser, and keeps every change of it in a journal."""
