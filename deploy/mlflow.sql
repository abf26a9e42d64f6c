-- Read by PostgreSQL's image at its first start: MLflow's own tables lie apart from Bondhu's.
CREATE DATABASE mlflow OWNER bondhu;
