"""What is known: the tables in Postgres, and the outside world that fills them.

Sources write tables (`sources/`), `build` derives feature tables from them, and the readers hand
them to training and serving as the core's arrays (`catalogue`, `listeners`).
"""
