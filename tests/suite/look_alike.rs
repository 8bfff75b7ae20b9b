//! Data that look like the real sets: the same columns, traps and types, made from a seed.
//!
//! Statlog German credit: categories as codes, a target of 0 and 1 that is no number. Telco churn: `TotalCharges` is a
//! blank where `tenure` is 0, `SeniorCitizen` is a category written as a number, `No` and `No phone service` differ.
//! Receipts: lines with commas, a box without a pixel in it, a page that many lines share. Spoken digits: sounds of different
//! lengths. Bank questions: cells with newlines and doubled quotes.

use std::fmt::Write;

use nodes_media::image::{Colour, Picture, encode_png};
use nodes_media::sound::{Sound, encode_wav};

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

/// A file of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csv {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Csv {
    /// Reads text whose cells are plain: none has a comma, a quote or a newline.
    pub fn parse(text: &str) -> Csv {
        let cells = |line: &str| line.split(',').map(str::to_owned).collect();
        let mut lines = text.lines();
        Csv { header: cells(lines.next().unwrap()), rows: lines.map(cells).collect() }
    }

    pub fn to_text(&self) -> String {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let lines = std::iter::once(&self.header).chain(&self.rows);
        lines.fold(String::new(), |mut text, cells| {
            writeln!(text, "{}", cells.iter().map(quoted).collect::<Vec<_>>().join(",")).unwrap();
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

/// A file beside the table, and what is in it.
pub type File = (String, Vec<u8>);

/// Lines of receipts as in SROIE, the receipts themselves and the pictures of their pages. What a line is follows from its
/// words and its place.
pub fn receipts(rows: usize, seed: u64) -> (Csv, Vec<File>) {
    const LINES: usize = 6;
    let mut dice = Dice::new(seed);
    let mut lines = Csv {
        header: ["receipt_id", "line_no", "x0", "y0", "x1", "y1", "text", "label", "split"].map(str::to_owned).to_vec(),
        rows: Vec::new(),
    };
    let mut receipts =
        Csv { header: ["receipt_id", "image", "width", "split"].map(str::to_owned).to_vec(), rows: Vec::new() };
    let mut files = Vec::new();
    for number in 0..rows.div_ceil(LINES) {
        let (id, split) = (format!("{number:03}"), SPLIT[number % SPLIT.len()]);
        let image = format!("images/{id}.png");
        let pixels = (0..48 * 64).map(|_| [250_u8, 245, 20][dice.below(3)]).collect();
        let page = Picture::new(48, 64, Colour::Grey, pixels).unwrap();
        files.push((format!("data/receipts_sroie/{image}"), encode_png(&page).unwrap()));
        receipts.rows.push(vec![id.clone(), image, "48".to_owned(), split.to_owned()]);
        for line in 0..LINES.min(rows - number * LINES) {
            let amount = format!("{}.{}0", 1 + dice.below(90), dice.below(10));
            let (text, label) = match line {
                0 => (format!("{} TRADING SDN BHD", dice.one_of(&["INDAH", "UNIHAKKA", "GARDENIA"])), "company"),
                1 => (format!("NO.{}, JALAN SAGU {}, JOHOR", 1 + dice.below(99), 1 + dice.below(30)), "address"),
                2 => (format!("DATE: {}/12/2018", 1 + dice.below(28)), "date"),
                3 => (format!("TOTAL \"RM\" {amount}"), "total"),
                _ => (format!("{} {amount}", dice.one_of(&["GIFT", "BREAD", "PEN"])), "other"),
            };
            let top = 4 + line * 10;
            // A box of no width, as some are.
            let right = if number == 1 && line == 4 { 5 } else { 20 + dice.below(27) };
            let place = [5, top, right, top + 8].map(|corner| corner.to_string());
            let mut row = vec![id.clone(), line.to_string()];
            row.extend(place);
            row.extend([text, label.to_owned(), split.to_owned()]);
            lines.rows.push(row);
        }
    }
    files.push(("data/receipts_sroie/receipts.csv".to_owned(), receipts.to_text().into_bytes()));
    (lines, files)
}

/// Recordings as in FSDD: a digit is the pitch of a tone, a speaker its loudness.
pub fn spoken_digits(rows: usize, seed: u64) -> (Csv, Vec<File>) {
    const SPEAKERS: [&str; 6] = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"];
    let mut dice = Dice::new(seed);
    let header = ["path", "digit", "speaker", "idx", "seconds", "split"].map(str::to_owned).to_vec();
    let mut recordings = Csv { header, rows: Vec::new() };
    let mut files = Vec::new();
    for row in 0..rows {
        let (digit, speaker, index) = (row % 3, SPEAKERS[row / 3 % SPEAKERS.len()], row / 18);
        let samples = 900 + dice.below(1500);
        let step = std::f32::consts::TAU * (300.0 + 500.0 * digit as f32) / 8000.0;
        let loud = 0.2 + 0.1 * (row / 3 % SPEAKERS.len()) as f32;
        let tone = (0..samples).map(|at| loud * (at as f32 * step).sin()).collect();
        let path = format!("recordings/{digit}_{speaker}_{index}.wav");
        let sound = Sound { sample_rate_hz: 8000, samples: tone };
        files.push((format!("data/fsdd/{path}"), encode_wav(&sound).unwrap()));
        let seconds = format!("{:.4}", samples as f64 / 8000.0);
        let split = SPLIT[(row / 3 + row) % SPLIT.len()];
        recordings.rows.push(
            [&path, &digit.to_string(), speaker, &index.to_string(), &seconds, split]
                .map(|cell| (*cell).to_owned())
                .to_vec(),
        );
    }
    (recordings, files)
}

/// Questions as in Banking77: three intents, some cells with newlines and quotes.
pub fn banking77(rows: usize, seed: u64) -> Csv {
    let mut dice = Dice::new(seed);
    let header = ["id", "text", "category", "split"].map(str::to_owned).to_vec();
    let ask = |row: usize| {
        let (intent, asks) = [
            ("card_arrival", ["where is my card", "my card has not come", "how long does a \"new\" card take"]),
            ("exchange_rate", ["what is the rate for euros", "the exchange rate was wrong", "which rate, please?"]),
            ("top_up_failed", ["my top up failed", "topping up\ndoes not work", "why was my top up refused"]),
        ][row % 3];
        let text = format!("{}{}", dice.one_of(&["", "hello, ", "please: "]), dice.one_of(&asks));
        vec![format!("train-{row:05}"), text, intent.to_owned(), SPLIT[(row / 3 + row) % SPLIT.len()].to_owned()]
    };
    Csv { header, rows: (0..rows).map(ask).collect() }
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
