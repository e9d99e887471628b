"""Footage without a project: objects are selected on the page and followed, layers learned, then the editor opens"""
