"""The tasks that a prompt may be of."""

TASKS = (
    "code_generation",
    "creative_writing",
    "summarization",
    "question_answering",
    "translation",
    "mathematics",
    "sql_generation",
    "api_call_generation",
    "legal_analysis",
    "customer_support",
)

OTHER = "other"
"""The task of a prompt that is none of `TASKS`, or that the classifier is not sure of."""
