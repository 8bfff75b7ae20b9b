"""What pipelines/loans.yaml does, with pandas and scikit-learn: the work of one run, nothing kept.

    python loans.py loans.csv
"""

import sys

import pandas
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

loans = pandas.read_csv(sys.argv[1])
loans["amount_to_income"] = loans["amount"] / loans["income"]
target = loans["default"] == "yes"
numbers = ["age", "income", "amount", "duration_months", "late_payments", "employment_years", "amount_to_income"]
words = ["purpose", "housing"]
train, test, train_target, test_target = train_test_split(loans, target, test_size=0.25, random_state=1)
for name, model in [
    ("mlp", MLPClassifier([32], learning_rate_init=0.003, max_iter=60, early_stopping=True,
                          n_iter_no_change=8, validation_fraction=0.2, random_state=1)),
    ("logistic", LogisticRegression(max_iter=1000)),
]:
    columns = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        ("words", OneHotEncoder(handle_unknown="ignore"), words),
    ])
    fitted = make_pipeline(columns, model).fit(train, train_target)
    print(name, round(roc_auc_score(test_target, fitted.predict_proba(test)[:, 1]), 4))
