"""Evaluation: data sets, metrics, and protocols; every metric comes with the protocol it follows."""

from streamad.evaluation.datasets import Clip, Dataset, load_dataset
from streamad.evaluation.events import (
    Alert,
    EventMatch,
    EventReport,
    TruthEvent,
    labels_to_events,
    match_events,
)
from streamad.evaluation.metrics import average_precision, eer, roc_auc, roc_curve
from streamad.evaluation.scores import Edge, Evaluation, SingleClass, evaluate_scores

__all__ = [
    "Alert",
    "Clip",
    "Dataset",
    "Edge",
    "Evaluation",
    "EventMatch",
    "EventReport",
    "SingleClass",
    "TruthEvent",
    "average_precision",
    "eer",
    "evaluate_scores",
    "labels_to_events",
    "load_dataset",
    "match_events",
    "roc_auc",
    "roc_curve",
]
