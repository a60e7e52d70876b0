"""Submissions: other people's numbers, checked as a stranger's before they enter a table."""

from ltgen_bench.leaderboard.submission.metadata import SubmissionMetadata
from ltgen_bench.leaderboard.submission.terms import DECLARATION, SEEDS_WANTED
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError
from ltgen_bench.leaderboard.submission.validate import Submission, validate_record, validate_submission

__all__ = [
    "DECLARATION",
    "SEEDS_WANTED",
    "Submission",
    "SubmissionError",
    "SubmissionMetadata",
    "validate_record",
    "validate_submission",
]
