"""`python -m clearsight` is the command line."""

from clearsight.cli.main import main

main()
