"""Backups of an installation: one archive of what cannot be regained, and its restoration."""

from streamad.workflows.backup.archive import MANIFEST, VERSION, BackupManifest
from streamad.workflows.backup.create import BackupReport, create_backup, default_name
from streamad.workflows.backup.restore import RestoreReport, restore_backup

__all__ = [
    "MANIFEST",
    "VERSION",
    "BackupManifest",
    "BackupReport",
    "RestoreReport",
    "create_backup",
    "default_name",
    "restore_backup",
]
