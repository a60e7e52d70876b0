"""Submissions: other people's numbers, checked as a stranger's before they enter a table."""

from ltgen_bench.leaderboard.submission.metadata import DECLARATION, SubmissionMetadata
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError
from ltgen_bench.leaderboard.submission.validate import SEEDS_WANTED, Submission, validate_record, validate_submission

__all__ = [
    "DECLARATION",
    "SEEDS_WANTED",
    "Submission",
    "SubmissionError",
    "SubmissionMetadata",
    "validate_record",
    "validate_submission",
]
