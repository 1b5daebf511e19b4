"""The four tables with small random models and small collections, audited: no hub is needed."""
