from clearsight.testing.contract import suite
from clearsight.testing.sampler_contract import SamplerContract


class TestSamplers(suite(SamplerContract())):
    pass
