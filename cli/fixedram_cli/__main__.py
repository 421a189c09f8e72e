"""`python -m fixedram_cli`."""

from fixedram_cli.main import main

main()
