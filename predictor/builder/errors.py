"""The exceptions of building and verifying releases, one class per kind of cause.

::

    BuildError
    ├── UnsupportedModel     config.json asks for something the decoder step does not do exactly
    ├── BrokenCheckpoint     a file of the checkpoint is missing, cut short, or disagrees with config.json
    ├── BrokenText           tokenizer or translation.json: missing, or they disagree with each other
    ├── TargetUnusable       the release cannot be written there
    │   └── DiskFull         too little room, found before or while writing
    ├── PrecisionUnavailable  no such precision, or no plan of it for this GPU, with this TensorRT, or of this release
    ├── EngineFailed         TensorRT built no engine
    ├── CalibrationFailed    a quantized plan cannot be fitted to this model
    ├── QualityTooLow        a quantized plan failed its quality gate: exit code 1
    ├── VerifyFailed         a release cannot be compared; a comparison that finds a difference is no error
    ├── BrokenSet            a test set cannot be read, or has nothing for this release
    ├── EvaluationFailed     a release cannot be evaluated
    └── TransferFailed       a hub or registry cannot be reached, refuses, or sends what was not asked for
        └── TransferInterrupted  the connection was lost; what was transferred is kept, and the command goes on there

The command line prints the message as one line and exits with code 2, unless noted. After any of them the target
holds no release and no part of one; a transfer that fails leaves what it has beside it.
"""

from __future__ import annotations


class BuildError(Exception):
    """A release cannot be built or verified. The message names the file or field, the fault and the fix."""


class UnsupportedModel(BuildError):
    """A field of ``config.json`` has a value that is not supported exactly."""


class BrokenCheckpoint(BuildError):
    """A checkpoint's files are incomplete or contradict each other."""


class BrokenText(BuildError):
    """The tokenizer or ``translation.json`` cannot be used with this checkpoint."""


class TargetUnusable(BuildError):
    """The release directory cannot be created at the target."""


class DiskFull(TargetUnusable):
    """The file system of the target has too little room."""


class PrecisionUnavailable(BuildError):
    """The options of a precision do not fit it, or the GPU, TensorRT or the release does not allow a plan's."""


class EngineFailed(BuildError):
    """TensorRT cannot build an engine."""


class CalibrationFailed(BuildError):
    """The inputs of a release's matrices cannot be measured, or none can be quantized."""


class QualityTooLow(BuildError):
    """A quantized plan did not pass its quality gate."""


class VerifyFailed(BuildError):
    """A release cannot be compared with its checkpoint."""


class BrokenSet(BuildError):
    """A test set cannot be read, or has no text in a language pair of the release."""


class EvaluationFailed(BuildError):
    """A release cannot be evaluated on a test set."""


class TransferFailed(BuildError):
    """A file cannot be sent or fetched: no access, no such thing, or a digest that differs."""


class TransferInterrupted(TransferFailed):
    """The connection was lost again and again; the same command continues where this one ended."""
