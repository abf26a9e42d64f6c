"""How it is asked: the service that scores candidates online.

`service` wires everything and is what BentoML loads; `api` speaks HTTP; `recommend` and `feedback`
are the two flows. A worker imports neither mlflow nor scikit-learn nor pandas.
"""
