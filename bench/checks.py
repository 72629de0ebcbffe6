"""Runs the checks of a check_*.py one after the other."""


def run_checks(checks, *arguments):
    """Calls each with `arguments`, prints how it went, and returns the exit code: 1 when one of them asserted."""
    failed_count = 0
    for check in checks:
        try:
            check(*arguments)
            print(f"ok     {check.__name__}")
        except AssertionError as error:
            failed_count += 1
            print(f"FAILED {check.__name__}: {error}")
    return 1 if failed_count else 0
