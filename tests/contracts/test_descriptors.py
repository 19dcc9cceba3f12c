"""Every descriptor keeps the contract, and every planted violation is caught."""

from clearsight.testing.contract import suite
from clearsight.testing.descriptor_contract import DescriptorContract


class TestDescriptors(suite(DescriptorContract())):
    pass
