"""Leaderboards: from committed records and published numbers to tables and a site."""
