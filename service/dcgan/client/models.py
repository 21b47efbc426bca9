"""The description of a model, out of its message."""

import datetime
from typing import TypeVar

from dcgan.client.messages import identity_of
from dcgan.client.results import (
    Calibration,
    DirectionInfo,
    EncoderInfo,
    Limits,
    Model,
    RefusedVersion,
    Training,
    VariantInfo,
)
from dcgan.v1 import dcgan_pb2 as pb

_Flat = TypeVar("_Flat", Limits, DirectionInfo, Training, Calibration, VariantInfo)


def model_answer(answer: pb.GetModelResponse) -> Model:
    """Reads the description of a model."""
    return Model(
        identity=identity_of(answer.identity),
        latent_dim=answer.latent_dim,
        prior="uniform" if answer.prior == pb.PRIOR_UNIFORM else "normal",
        height=answer.height,
        width=answer.width,
        channels=answer.channels,
        limits=_filled(Limits, answer.limits),
        directions=tuple(_filled(DirectionInfo, one) for one in answer.directions),
        created=answer.create_time.ToDatetime(datetime.UTC),
        training=_filled(Training, answer.training),
        figures=dict(answer.figures),
        licence=answer.licence,
        attribution=answer.attribution,
        golden_exact=answer.golden_exact,
        calibration=_filled(Calibration, answer.calibration) if answer.HasField("calibration") else None,
        encoder=_encoder(answer.encoder) if answer.HasField("encoder") else None,
        refused_versions=tuple(
            RefusedVersion(one.version, one.reason, one.refuse_time.ToDatetime(datetime.UTC))
            for one in answer.refused_versions
        ),
        variants=tuple(_filled(VariantInfo, one) for one in answer.variants),
    )


def _encoder(message: pb.Encoder) -> EncoderInfo:
    return EncoderInfo(message.refines, dict(message.figures))


def _filled(kind: type[_Flat], message: object) -> _Flat:
    """Makes a value whose fields are called as those of the message."""
    return kind(**{name: getattr(message, name) for name in kind.__slots__})
