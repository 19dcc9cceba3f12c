"""Every encoder keeps the contract, and every planted violation is caught."""

from clearsight.testing.contract import suite
from clearsight.testing.encoder_contract import EncoderContract


class TestEncoders(suite(EncoderContract())):
    pass
