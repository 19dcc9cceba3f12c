from clearsight.testing.contract import suite
from clearsight.testing.schedule_contract import ScheduleContract


class TestSchedules(suite(ScheduleContract())):
    pass
