"""ADACL: augment to detect anomalies with continuous labeling.

A CNN regresses a label from a 30×30 cell; normal cells carry labels drawn from [0, 0.3], anomalies created from them
labels from [0.7, 1]. See README.md in this folder for what is the paper's and what is ours.
"""
