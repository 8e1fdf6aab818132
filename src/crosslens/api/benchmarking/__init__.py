"""``benchmark``: a suite of measurements, done job by job, and the table and page that come of it.

``suite.py`` reads what is wanted, ``plan.py`` makes jobs of it, ``running.py`` does them, each in a process
(``job.py``), and ``benchmarking.py`` writes the outcome.
"""
