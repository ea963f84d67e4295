"""Plans an audit: what checks need, and what that is predicted to take."""
