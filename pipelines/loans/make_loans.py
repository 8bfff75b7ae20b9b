"""Writes loans.csv: 1,500 made-up loans whose risk is known in closed form.

The log-odds of default are

    -2.2 + 0.9 late_payments + 1.1 (amount / income) - 0.07 employment_years
    + 0.8 [purpose = business] - 0.5 [housing = own] + 0.03 (duration_months - 24)

`employment_years` is missing for one row in twelve, whatever its value. Run it in this folder:

    python3 make_loans.py > loans.csv
"""

import math
import random


def main():
    draw = random.Random(20)
    print("loan_id,age,income,amount,duration_months,purpose,housing,employment_years,late_payments,default")
    for number in range(1, 1501):
        age = draw.randint(21, 70)
        income = round(math.exp(draw.gauss(10.3, 0.45)), 2)
        amount = round(income * draw.uniform(0.05, 1.4), 2)
        duration = draw.choice([6, 12, 18, 24, 30, 36, 48, 60])
        purpose = draw.choices(["car", "home", "business", "education", "furniture"], [5, 3, 2, 2, 4])[0]
        housing = draw.choices(["own", "rent", "free"], [5, 4, 1])[0]
        employment = round(min(draw.expovariate(1 / 7), age - 18), 1)
        late = min(int(draw.expovariate(1.1)), 6)
        risk = -2.2 + 0.9 * late + 1.1 * amount / income - 0.07 * employment + 0.03 * (duration - 24)
        risk += 0.8 * (purpose == "business") - 0.5 * (housing == "own")
        default = "yes" if draw.random() < 1 / (1 + math.exp(-risk)) else "no"
        known = "" if draw.random() < 1 / 12 else employment
        print(f"L{number:05},{age},{income},{amount},{duration},{purpose},{housing},{known},{late},{default}")


main()
