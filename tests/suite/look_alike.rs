//! Data that look like the real sets: the same columns, traps and types, made from a seed.
//!
//! Statlog German credit: categories as codes, a target of 0 and 1 that is no number. Telco churn: `TotalCharges` is a
//! blank where `tenure` is 0, `SeniorCitizen` is a category written as a number, `No` and `No phone service` differ.

use std::fmt::Write;

/// Numbers from a seed (Steele, Lea and Flood 2014, *Fast splittable pseudorandom number generators*: SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// One of `choices`.
    pub fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// A file of plain cells: none has a comma, a quote or a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csv {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Csv {
    pub fn parse(text: &str) -> Csv {
        let cells = |line: &str| line.split(',').map(str::to_owned).collect();
        let mut lines = text.lines();
        Csv { header: cells(lines.next().unwrap()), rows: lines.map(cells).collect() }
    }

    pub fn to_text(&self) -> String {
        let lines = std::iter::once(&self.header).chain(&self.rows);
        lines.fold(String::new(), |mut text, cells| {
            writeln!(text, "{}", cells.join(",")).unwrap();
            text
        })
    }

    /// The place of the column `name`.
    pub fn place(&self, name: &str) -> usize {
        self.header.iter().position(|column| column == name).unwrap_or_else(|| panic!("no column {name}"))
    }

    /// The cells of the column `name`.
    pub fn column(&self, name: &str) -> Vec<&str> {
        let place = self.place(name);
        self.rows.iter().map(|row| row[place].as_str()).collect()
    }

    /// Adds a column whose cells are made of the row's number.
    pub fn with_column(mut self, name: &str, cell: impl Fn(usize) -> String) -> Csv {
        self.header.push(name.to_owned());
        self.rows.iter_mut().enumerate().for_each(|(number, row)| row.push(cell(number)));
        self
    }
}

/// Seven train rows, one validation row and two test rows of ten.
const SPLIT: [&str; 10] = ["train", "test", "train", "train", "valid", "train", "train", "test", "train", "train"];

/// Loans as in Statlog German credit.
pub fn german_credit(rows: usize, seed: u64) -> Csv {
    let mut dice = Dice::new(seed);
    let header = "row_id,checking_status,duration_months,credit_history,purpose,credit_amount,savings_status,\
                  employment_since,installment_rate,personal_status_sex,other_debtors,residence_since,property,age,\
                  other_installment_plans,housing,existing_credits,job,people_liable,telephone,foreign_worker,bad,split";
    let mut text = format!("{header}\n");
    for row in 0..rows {
        let months = 6 + dice.below(60);
        let checking = dice.one_of(&["A11", "A12", "A13", "A14"]);
        // Long loans of empty accounts go bad more often.
        let bad = u8::from(months + dice.below(40) > if checking == "A14" { 70 } else { 52 });
        let cells = [
            (row + 1).to_string(),
            checking.into(),
            months.to_string(),
            dice.one_of(&["A30", "A31", "A32", "A33", "A34"]).into(),
            dice.one_of(&["A40", "A41", "A43", "A46", "A49"]).into(),
            (250 + dice.below(15_000)).to_string(),
            dice.one_of(&["A61", "A62", "A65"]).into(),
            dice.one_of(&["A71", "A73", "A75"]).into(),
            (1 + dice.below(4)).to_string(),
            dice.one_of(&["A91", "A92", "A93", "A94"]).into(),
            dice.one_of(&["A101", "A102", "A103"]).into(),
            (1 + dice.below(4)).to_string(),
            dice.one_of(&["A121", "A122", "A123", "A124"]).into(),
            (19 + dice.below(55)).to_string(),
            dice.one_of(&["A141", "A142", "A143"]).into(),
            dice.one_of(&["A151", "A152", "A153"]).into(),
            (1 + dice.below(4)).to_string(),
            dice.one_of(&["A171", "A172", "A173", "A174"]).into(),
            (1 + dice.below(2)).to_string(),
            dice.one_of(&["A191", "A192"]).into(),
            dice.one_of(&["A201", "A202"]).into(),
            bad.to_string(),
            SPLIT[row % SPLIT.len()].to_owned(),
        ];
        writeln!(text, "{}", cells.join(",")).unwrap();
    }
    Csv::parse(&text)
}

/// Customers as in Telco churn; every eleventh has just come, with a blank for `TotalCharges`.
pub fn telco_churn(rows: usize, seed: u64) -> Csv {
    let mut dice = Dice::new(seed);
    let header = "customerID,gender,SeniorCitizen,Partner,Dependents,tenure,PhoneService,MultipleLines,InternetService,\
                  OnlineSecurity,OnlineBackup,DeviceProtection,TechSupport,StreamingTV,StreamingMovies,Contract,\
                  PaperlessBilling,PaymentMethod,MonthlyCharges,TotalCharges,Churn,split";
    let yes_no = ["Yes", "No"];
    let mut text = format!("{header}\n");
    for row in 0..rows {
        let tenure = if row % 11 == 3 { 0 } else { 1 + dice.below(72) };
        let cents = 1_825 + dice.below(10_000);
        let total = cents * tenure;
        let phone = dice.one_of(&yes_no);
        let internet = dice.one_of(&["DSL", "Fiber optic", "No"]);
        let lines = if phone == "No" { "No phone service" } else { dice.one_of(&yes_no) };
        let contract = dice.one_of(&["Month-to-month", "One year", "Two year"]);
        let churns = contract == "Month-to-month" && tenure < 10 + dice.below(50);
        let mut cells: Vec<String> = vec![
            format!("{:04}-{}", 1000 + row, dice.one_of(&["VHVEG", "GNVDE", "QPYBK", "CFOCW"])),
            dice.one_of(&["Female", "Male"]).into(),
            dice.one_of(&["0", "1"]).into(),
            dice.one_of(&yes_no).into(),
            dice.one_of(&yes_no).into(),
            tenure.to_string(),
            phone.into(),
            lines.into(),
            internet.into(),
        ];
        for _ in 0..6 {
            cells.push(if internet == "No" { "No internet service" } else { dice.one_of(&yes_no) }.to_owned());
        }
        cells.push(contract.into());
        cells.push(dice.one_of(&yes_no).into());
        cells.push(dice.one_of(&["Electronic check", "Mailed check", "Credit card (automatic)"]).into());
        cells.push(format!("{}.{:02}", cents / 100, cents % 100));
        cells.push(if tenure == 0 { " ".to_owned() } else { format!("{}.{:02}", total / 100, total % 100) });
        cells.push(if churns { "Yes" } else { "No" }.to_owned());
        cells.push(SPLIT[row % SPLIT.len()].to_owned());
        writeln!(text, "{}", cells.join(",")).unwrap();
    }
    Csv::parse(&text)
}

/// The first `rows` loans of the pipeline `loans`.
pub fn loans(rows: usize) -> Csv {
    let mut loans = Csv::parse(include_str!("../../pipelines/loans/loans.csv"));
    loans.rows.truncate(rows);
    loans
}

#[test]
fn look_alike_data_have_the_traps_of_the_real_sets() {
    let telco = telco_churn(60, 1);
    let blanks = telco.column("TotalCharges").iter().filter(|cell| **cell == " ").count();
    let new = telco.column("tenure").iter().filter(|cell| **cell == "0").count();
    assert!(blanks > 0 && blanks == new);
    assert!(telco.column("MultipleLines").contains(&"No phone service"));
    let german = german_credit(60, 1);
    assert!(german.header.len() == 23 && german.rows.iter().all(|row| row.len() == 23));
    for class in ["0", "1"] {
        assert!(german.column("bad").iter().filter(|cell| **cell == class).count() > 10);
    }
    assert_eq!(Csv::parse(&german.to_text()), german);
}
