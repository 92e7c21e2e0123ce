"""Words that every part of Tier0 shares: settings, errors, events, signature and golden rows."""
