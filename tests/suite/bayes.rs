//! The main job against what can be known: the quickstart's joint model beside the Bayes rule of the process that made its
//! claims, on the same test rows.

use engine_store::Store;
use nodes_catalog::claims::{Claim, ClaimsOptions, Modality, claim_id};

use crate::workshop::Project;

/// The options of the quickstart's claims.
fn options(project: &Project) -> ClaimsOptions {
    let plan = project.plan();
    let claims = plan.main_task("claims").unwrap();
    serde_json::from_value(claims.bound.options.clone()).unwrap()
}

#[test]
fn the_quickstart_comes_near_the_bayes_rule_and_above_every_single_modality() {
    let project = Project::whole_quickstart();
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);

    let process = options(&project).process();
    let (ids, parts) = (ran.cells("split", "claim_id", &store), ran.split("split", &store));
    let number = |id: &String| id[1..].parse().unwrap();
    let claims: Vec<Claim> = ids
        .iter()
        .zip(&parts)
        .filter(|(_, part)| *part == "test")
        .map(|(id, _)| {
            assert_eq!(claim_id(number(id)), *id);
            process.claim(number(id))
        })
        .collect();
    assert!(claims.len() >= 4_000, "{} test rows", claims.len());
    let accuracy_of_rule = |modalities: &[Modality]| {
        let is_right = |claim: &&Claim| (process.posterior(claim, modalities) > 0.5) == claim.is_fraud;
        claims.iter().filter(is_right).count() as f64 / claims.len() as f64
    };

    let accuracy = ran.outcome.metrics["quality"]["accuracy"].value;
    let bayes = accuracy_of_rule(&Modality::ALL);
    assert!(accuracy > bayes - 0.02, "the joint model is right in {accuracy}, the Bayes rule in {bayes}");
    // No rule that goes by more than the evidence there is does better, but for the luck of these rows.
    assert!(accuracy < bayes + 0.02, "the joint model is right in {accuracy}, the Bayes rule in {bayes}");
    for modality in Modality::ALL {
        let single = accuracy_of_rule(&[modality]);
        assert!(accuracy > single + 0.05, "{modality:?} alone allows {single}, the joint model has {accuracy}");
    }
}
