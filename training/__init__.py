"""How it learns: jobs that fit what the service scores with, as tracked versions of models.

`scorer.train_scorer` is one training run from Postgres to the registry, in the order `histories`
(what may be used), `holdout` and `dataset` (what is hidden from whom), `choices` (what could be
shown), `weights` (the fit), `evaluation` (what it is worth), `registry` (the version);
`promotion.promote` decides whether it is served.
"""
