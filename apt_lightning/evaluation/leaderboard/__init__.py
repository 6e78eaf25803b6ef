"""A leaderboard that recomputes itself, and a checker for data whose labels and predictions stay where they are."""
