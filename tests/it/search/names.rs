//! Records by their names, and what was said with those who are named.

use serde_json::json;

use super::{found, highlighted, named, note, search, until, with_meaning};
use crate::contract::Api;

/// Names are found first, also where texts speak of them more than their own cards do.
async fn names_first(api: &Api) {
    let lp = api.made("lps", json!({"name": "Afore XXI Banorte", "location": "Monterrey"})).await;
    let other = api.made("lps", json!({"name": "Bridgewater Associates"})).await;
    let pension = api.made("lps", json!({"name": "PensionISSSTE", "location": "CDMX"})).await;
    let firm = api.made("gps", json!({"name": "Peñaloza & Treviño"})).await;
    let person = api.made("people", json!({"name": "María Núñez"})).await;
    let family = api.made("lps", json!({"name": "Grupo Familiar Etxeberría"})).await;
    for n in 0..20 {
        let text = "We met Afore XXI Banorte again. Afore XXI Banorte was keen on pensions.";
        note(api, &format!("Afore XXI Banorte {n}"), text).await;
    }
    note(api, "Penaloza Trevino", "Peñaloza Treviño spoke of a pension, as Penaloza Trevino do.")
        .await;
    until("the last note is known", async || {
        let page = search(api, "Penaloza spoke of a pension", "&kinds=note").await;
        page["mode"] == "lexical"
            || page["hits"][0]["why"].as_array().unwrap().contains(&json!("meaning"))
    })
    .await;
    let check = async |question: &str, expected: &str| {
        let page = search(api, question, "").await;
        assert_eq!(named(&page).first().map(String::as_str), Some(expected), "{question}: {page}");
        let why = page["hits"][0]["why"].as_array().unwrap().clone();
        assert!(why.contains(&json!("name")), "{question}: {why:?}");
    };
    let (lp_hit, pension_hit, firm_hit) =
        (format!("lp:{lp}"), format!("lp:{pension}"), format!("gp:{firm}"));
    for question in ["Afore XXI Banorte", "afore xxi", "aforre xxi", "banotre", "Afore XX1 Banorte"]
    {
        check(question, &lp_hit).await;
    }
    for question in ["pensionissste", "pensionisste", "pensioniste"] {
        check(question, &pension_hit).await;
    }
    check("Penaloza Trevino", &firm_hit).await;
    check("maria nunez", &format!("person:{person}")).await;
    check("Grupo Echeverria", &format!("lp:{family}")).await;
    check("Bridgwater", &format!("lp:{other}")).await;
    check("bridgewater asociates", &format!("lp:{other}")).await;
    check(&format!("lp:{other}"), &format!("lp:{other}")).await;
    check(&format!("LP {lp}"), &lp_hit).await;
    let mut several = found(api, &format!("lp:{other} gp:{firm}"), "").await;
    several.truncate(2);
    several.sort();
    assert_eq!(several, [firm_hit.clone(), format!("lp:{other}")]);
    api.put(&format!("/lps/{other}"), json!({"name": "Lakeside"})).await.expect(200, "rename");
    let old = search(api, "bridgewater", "&kinds=lp&mode=lexical").await;
    assert_eq!(named(&old), Vec::<String>::new());
    check("lakeside", &format!("lp:{other}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_first_also_in_part_and_mistyped() {
    names_first(&Api::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_first_also_where_it_is_searched_by_meaning() {
    let (api, _embeddings, vectors) = with_meaning().await;
    names_first(&api).await;
    vectors.stop().await;
}

/// A note for each organisation and person, and the words that find it beside those who are named.
#[tokio::test(flavor = "multi_thread")]
async fn who_names_somebody_and_a_subject_finds_what_was_said_of_it_with_them() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let lp = api.made("lps", json!({"name": "Northmoor County Pension Fund"})).await;
    let person = api.made("people", json!({"name": "Siân Llewellyn-Pryce"})).await;
    let other = api.made("people", json!({"name": "Catalina Ossandón Larraín"})).await;
    let about = async |text: &str, links: &[String]| {
        let id = note(&api, "Call", text).await;
        for link in links {
            api.post(&format!("/notes/{id}/{link}"), json!({})).await.expect(200, "link");
        }
        id
    };
    let with_both = [format!("participants/{person}"), format!("lps/{lp}")];
    let lapsed = about("She let the option of that vintage lapse.", &with_both).await;
    for n in 0..20 {
        about(&format!("She spoke of fees and pacing, part {n}."), &with_both).await;
    }
    about("He let the option lapse, too.", &[format!("participants/{other}")]).await;
    let last = about("The chapter on custody.", &[]).await;
    until("the last note is found by meaning", async || {
        found(&api, "custody", "&mode=semantic&kinds=note&limit=1").await
            == [format!("note:{last}")]
    })
    .await;
    for question in [
        "Llewellyn-Pryce lapsed",
        "sian llewellyn pryce lapsed",
        "Northmoor lapsed option",
        "Norhtmoor lapsed",
        "Northmoor County Pension Fund lapsed",
    ] {
        for mode in ["hybrid", "lexical"] {
            let notes = found(&api, question, &format!("&kinds=note&mode={mode}")).await;
            assert_eq!(notes[0], format!("note:{lapsed}"), "{question} {mode}");
            let rest = format!("&kinds=note&mode={mode}&from=2025-01-01");
            assert_eq!(found(&api, question, &rest).await[0], notes[0], "{question} {mode}");
        }
        let all = found(&api, question, "").await;
        assert!(all[..3].contains(&format!("note:{lapsed}")), "{question} {all:?}");
    }
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_known_by_initials_by_how_it_begins_and_with_other_words_around_it() {
    let api = Api::new().await;
    let person = api.made("people", json!({"name": "José María Ibáñez de la Torre"})).await;
    let fund = api.made("funds", json!({"fund_name": "Andes Infrastructure II"})).await;
    let tan = api.made("people", json!({"name": "Wei-Ling Tan"})).await;
    note(&api, "Call", "J. said that we should call Jose, or Tan, on fees of infrastructure.")
        .await;
    for (question, expected) in [
        ("J. M. Ibáñez", format!("person:{person}")),
        ("Ibañ", format!("person:{person}")),
        ("infrast", format!("fund:{fund}")),
        ("weiling tan", format!("person:{tan}")),
        ("call with José María Ibáñez de la Torre", format!("person:{person}")),
        ("fees of Andes Infrastructure II", format!("fund:{fund}")),
    ] {
        let page = search(&api, question, "&kinds=person,fund,lp").await;
        assert_eq!(named(&page)[0], expected, "{question}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_names_with_the_same_words_that_goes_first_which_was_typed() {
    let api = Api::new().await;
    let made = async |path: &str, field: &str, name: &str| {
        let id = api.made(path, json!({field: name})).await;
        format!("{}:{id}", if path == "people" { "person" } else { path.trim_end_matches('s') })
    };
    let longer = made("lps", "name", "Grupo Treviño VII").await;
    let group = made("lps", "name", "Grupo Treviño").await;
    made("lps", "name", "Robles & Milmo Endowment").await;
    let endowment = made("lps", "name", "Endowment Milmo").await;
    made("funds", "fund_name", "Clearwater Infrastructure Credit Opportunities II").await;
    let clearwater = made("gps", "name", "Clearwater Infrastructure").await;
    let long =
        made("funds", "fund_name", "Juniper Energy Transition Partners Real Assets Fund V").await;
    note(&api, "Call", "The credit of infrastructure was discussed; an endowed chair, too.").await;
    for (question, expected) in [
        ("Grupo Treviño", &group),
        ("Grupo Treviño VII", &longer),
        ("Endowmint Milmo", &endowment),
        ("Clearwater Infraestructure", &clearwater),
        ("Clarwater Infrdastructure", &clearwater),
        ("Juniper Energy Transition Partners Real Assts Fund V", &long),
    ] {
        let page = search(&api, question, "").await;
        assert_eq!(&named(&page)[0], expected, "{question}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_known_among_other_words_also_where_it_is_mistyped() {
    let api = Api::new().await;
    let goldberg = api.made("people", json!({"name": "Sofía Goldberg"})).await;
    let cantu = api.made("people", json!({"name": "Mijael Cantú"})).await;
    api.made("people", json!({"name": "David Cantú"})).await;
    let lp = api.made("lps", json!({"name": "Lakeview Teachers Retirement System"})).await;
    for n in 0..5 {
        note(&api, &format!("Call {n}"), "Somebody said much about fees and management.").await;
    }
    for (question, expected) in [
        ("Sofía Godlberg fees", format!("person:{goldberg}")),
        ("call with Mihael Cantú", format!("person:{cantu}")),
        ("what did Sofía Godlberg say about management fees", format!("person:{goldberg}")),
        ("fees of Lakeview Techers Retirement System", format!("lp:{lp}")),
        (
            "what was it again that the people of Lakevew said about the fees and the terms of ours",
            format!("lp:{lp}"),
        ),
    ] {
        let found = found(&api, question, "&kinds=person,lp").await;
        assert_eq!(found[0], expected, "{question}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_words_of_a_name_may_be_mistyped_and_two_be_typed_as_one() {
    let api = Api::new().await;
    let granite = format!("lp:{}", api.made("lps", json!({"name": "Granite Peak Fund"})).await);
    let hill = format!("lp:{}", api.made("lps", json!({"name": "Granite Hill"})).await);
    let lima = format!("gp:{}", api.made("gps", json!({"name": "Grupo Lima"})).await);
    let tan = format!("person:{}", api.made("people", json!({"name": "Wei-Ling Tan"})).await);
    note(&api, "Call", "A fund that is at its peak, a hill of stone, and a group.").await;
    for (question, expected) in [
        ("granite pek", &granite),
        ("Granite Peak Fnud", &granite),
        ("granite hlil", &hill),
        ("grupo lmia", &lima),
        ("granitepeak", &granite),
        ("granitehill", &hill),
        ("grupolima", &lima),
        ("weilign tan", &tan),
    ] {
        let page = search(&api, question, "").await;
        assert_eq!(&named(&page)[0], expected, "{question}: {page}");
    }
    for nobody in ["granitelake", "tax", "hell", "bark"] {
        let page = search(&api, nobody, "").await;
        assert_eq!(named(&page), Vec::<String>::new(), "{nobody} {page}");
    }
    // However many other words a short one may be.
    let rock = format!("lp:{}", api.made("lps", json!({"name": "Cobalt Rock Fund"})).await);
    api.made("lps", json!({"name": "Cobalt Hill"})).await;
    for _ in 0..3 {
        note(&api, "Call", "rob rod roe rot row ron ros roy").await;
    }
    for question in ["cobalt rok", "rok cobalt"] {
        let page = search(&api, question, "").await;
        assert_eq!(&named(&page)[0], &rock, "{question}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_word_in_another_form_than_names_have_it_is_no_name() {
    let api = Api::new().await;
    let gp = api.made("gps", json!({"name": "Evergreen Partners"})).await;
    let about =
        note(&api, "Call", "The partners spoke of their partnership: one is a partnered fund.")
            .await;
    let hits = search(&api, "partner", "").await;
    let of = |record: String| {
        let at = named(&hits).iter().position(|it| *it == record);
        at.unwrap_or_else(|| panic!("{record} {hits}"))
    };
    assert!(of(format!("note:{about}")) < 2 && of(format!("gp:{gp}")) < 2, "{hits}");
    let scores: Vec<f64> =
        hits["hits"].as_array().unwrap().iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!(
        scores.is_sorted_by(|one, other| one >= other),
        "nothing goes first whatever its score"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_about_a_record_that_is_deleted() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Northmoor"})).await;
    let about = note(&api, "Call", "They asked about pacing.").await;
    api.post(&format!("/notes/{about}/lps/{lp}"), json!({})).await.expect(200, "link");
    let rest = format!("&lp={lp}");
    assert_eq!(found(&api, "pacing", &rest).await, [format!("note:{about}")]);
    api.delete(&format!("/lps/{lp}")).await.expect(200, "delete");
    assert_eq!(found(&api, "pacing", &rest).await, Vec::<String>::new());
    assert_eq!(found(&api, "pacing", "").await, [format!("note:{about}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_of_a_question_is_no_name_that_is_a_little_like_it() {
    let api = Api::new().await;
    let fund =
        api.made("funds", json!({"fund_name": "Maplecroft Secondaries Opportunities V"})).await;
    let lp = api.made("lps", json!({"name": "Northmoor County Pension Fund"})).await;
    let about = note(&api, "Call", "They like the fund and asked about pacing.").await;
    api.post(&format!("/notes/{about}/funds/{fund}"), json!({})).await.expect(200, "link");
    api.post(&format!("/notes/{about}/lps/{lp}"), json!({})).await.expect(200, "link");
    let wind = note(&api, "Visit", "A wind farm on the land of an indigenous people.").await;
    for question in [
        "wind farms and indigenous communities of the south",
        "which country has wind farms on indigenous land",
    ] {
        assert_eq!(found(&api, question, "&kinds=note").await[0], format!("note:{wind}"));
        let names = found(&api, question, "&kinds=fund,lp").await;
        assert_eq!(names, Vec::<String>::new(), "{question}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acronym_of_many_is_that_of_the_kind_that_is_asked_for() {
    let api = Api::new().await;
    for number in 1..=9 {
        api.made("lps", json!({"name": format!("Cedar Point {number}")})).await;
    }
    let fund = api.made("funds", json!({"fund_name": "Copper Partners"})).await;
    assert_eq!(found(&api, "CP", "&kinds=fund").await, [format!("fund:{fund}")]);
    assert_eq!(found(&api, "CP", "&kinds=lp").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn organisations_and_funds_are_found_by_their_initials_with_what_was_said_with_them() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Lakeview Teachers Retirement System"})).await;
    let gp = api.made("gps", json!({"name": "Fondo de Pensiones de la Unión"})).await;
    let irr = api.made("lps", json!({"name": "Inverness Reserve Re"})).await;
    let called = api.made("lps", json!({"name": "FPU"})).await;
    let about = note(&api, "Call", "They asked about currency hedging.").await;
    let links = json!({"lp_ids": [lp], "gp_ids": [], "fund_ids": [], "participant_ids": [], "distributor_ids": [], "roadshow_ids": []});
    api.post(&format!("/notes/{about}/relationships"), links).await.expect(200, "link");
    let other =
        note(&api, "Other", "Nobody asked about currency hedging, but about the IRR.").await;
    let check = async |question: &str, rest: &str, expected: &[String]| {
        assert_eq!(found(&api, question, rest).await, expected, "{question}{rest}");
    };
    let [lp_hit, about_hit] = [format!("lp:{lp}"), format!("note:{about}")];
    check("LTRS", "", &[lp_hit.clone(), about_hit.clone()]).await;
    check("ltrs", "&kinds=note", std::slice::from_ref(&about_hit)).await;
    check("LTRS", "&kinds=gp", &[]).await;
    check("FPU", "", &[format!("lp:{called}"), format!("gp:{gp}")]).await;
    // What was said with those who are meant goes before what has the other words alone.
    let hits = found(&api, "LTRS currency hedging", "&kinds=note").await;
    assert_eq!(hits, [about_hit, format!("note:{other}")]);
    // A short word that texts have is meant as texts have it.
    let hits = found(&api, "IRR", "").await;
    assert_eq!(hits, [format!("note:{other}"), format!("lp:{irr}")]);
    api.put(&format!("/lps/{lp}"), json!({"name": "Lakeside"})).await.expect(200, "rename");
    check("LTRS", "", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_title_of_a_note_counts_as_said_in_it_with_its_text_and_whom_it_is_about() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let person = api.made("people", json!({"name": "Deborah Okonkwo"})).await;
    let titled = note(&api, "Zebrafish outlook", "We spoke of quokkas. Nothing decided.").await;
    api.post(&format!("/notes/{titled}/participants/{person}"), json!({}))
        .await
        .expect(200, "link");
    for n in 0..5 {
        note(&api, &format!("Quokkas {n}"), "The outlook for fees, as Okonkwo saw it.").await;
        note(&api, &format!("Zebrafish {n}"), "Nothing was decided of the others.").await;
    }
    for question in
        ["quokkas Okonkwo zebrafish", "zebrafish Okonkwo decided", "zebrafish quokkas decided"]
    {
        let page = search(&api, question, "&kinds=note").await;
        let hit = &page["hits"][0];
        assert_eq!(hit["id"], titled, "{question}: {page}");
        let by_word = hit["parts"]["word"].as_f64().unwrap();
        assert!(by_word > 0.04, "all words are there: {question}: {page}");
    }
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn funds_and_organisations_are_found_however_they_are_written() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let mut funds = Vec::new();
    for name in [
        "Northmoor Buyout Fund III",
        "Northmoor Buyout Fund IV",
        "Kestrel Direct Lending II",
        "Kestrel Direct Lending III",
    ] {
        funds.push(format!("fund:{}", api.made("funds", json!({"fund_name": name})).await));
    }
    let lp = api.made("lps", json!({"name": "Ontario Teachers' Pension Plan"})).await;
    for n in 0..20 {
        let text =
            "OTPP asked what KDL III and the fourth fund of Northmoor, Fund 4, lend directly.";
        note(&api, &format!("OTPP on KDL III, {n}"), text).await;
    }
    for (question, expected) in [
        ("Northmoor Fund 4", &funds[1]),
        ("Northmoor Buyout 3", &funds[0]),
        ("KDL III", &funds[3]),
        ("Kestrel Direct Lending Fund III", &funds[3]),
        ("OTPP", &format!("lp:{lp}")),
    ] {
        let page = search(&api, question, "").await;
        assert_eq!(&named(&page)[0], expected, "{question}: {page}");
    }
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_percentage_or_a_number_with_a_point_is_found_as_a_whole_and_is_no_part_of_a_name() {
    let api = Api::new().await;
    note(&api, "20 July with Horizonte", "We spoke of 9 funds and 8 fees.").await;
    let percent = note(&api, "Terms", "A carry of 20 per cent, as usual.").await;
    let spanish = note(&api, "Plazos", "La comisión es del 20 por ciento.").await;
    let decimal = note(&api, "Return", "El retorno fue del 9,8 % en 2024.").await;
    let titled = note(&api, "20% carry", "Nothing else was said.").await;
    let all = |ids: &[i64]| {
        let mut named: Vec<String> = ids.iter().map(|id| format!("note:{id}")).collect();
        named.sort_unstable();
        named
    };
    let check = async |question: &str, expected: &[i64]| {
        let mut found = found(&api, question, "&mode=lexical").await;
        found.sort_unstable();
        assert_eq!(found, all(expected), "{question}");
    };
    for question in ["20%", "20 percent", "20 por ciento"] {
        check(question, &[percent, spanish, titled]).await;
    }
    for question in ["9.8", "9,8%", "9.8 %"] {
        check(question, &[decimal]).await;
    }
    check("8%", &[]).await;
    let [first, second] = ["Fondo 1.5", "Fondo 2.5"].map(|name| json!({"fund_name": name}));
    api.made("funds", first).await;
    let second = api.made("funds", second).await;
    for mode in ["", "&mode=lexical"] {
        let found = found(&api, "Fondo 2.5", mode).await;
        assert_eq!(found[0], format!("fund:{second}"));
    }
    let page = search(&api, "9.8%", "").await;
    assert_eq!(highlighted(&page["hits"][0]), ["9,8 %"]);
}

/// Names of records, and texts, in scripts whose words are not parted or that the index of names does not know; names with an
/// ampersand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_word_of_latin_letters_is_found_as_well() {
    let api = Api::new().await;
    let pension = api.made("lps", json!({"name": "国民年金公団"})).await;
    let greek = api.made("lps", json!({"name": "Ταμείο Συντάξεων Αθηνών"})).await;
    let carrier = api.made("lps", json!({"name": "AT&T Pension Trust"})).await;
    let meeting = note(&api, "Tokyo", "彼らは年金基金の為替ヘッジについて尋ねた。").await;
    let call = note(&api, "Call", "M & G asked at what time they meet the Фонд будущих.").await;
    let korean = note(&api, "Seoul", "국민연금공단은 헤지를 물었다.").await;
    for (question, expected) in [
        ("国民年金", format!("lp:{pension}")),
        ("年金公団", format!("lp:{pension}")),
        ("\"為替ヘッジ\"", format!("note:{meeting}")),
        ("ヘッジ", format!("note:{meeting}")),
        ("국민연금", format!("note:{korean}")),
        ("Ταμείο Αθηνών", format!("lp:{greek}")),
        ("ταμειο συνταξεων αθηνων", format!("lp:{greek}")),
        ("фонд", format!("note:{call}")),
        ("AT&T", format!("lp:{carrier}")),
        ("at & t", format!("lp:{carrier}")),
        ("\"M&G\"", format!("note:{call}")),
    ] {
        let found = found(&api, question, "").await;
        assert_eq!(found.first(), Some(&expected), "{question}: {found:?}");
    }
    for question in ["公年", "AT&M"] {
        assert_eq!(found(&api, question, "").await, Vec::<String>::new(), "{question}");
    }
    let page = search(&api, "為替ヘッジ", "").await;
    assert_eq!(highlighted(&page["hits"][0]), ["為替ヘッジ"]);
    let numbers = note(&api, "Returns", "By vintage 2018: 13.7 15.3 17.9").await;
    assert_eq!(found(&api, "\"15.3\"", "").await, [format!("note:{numbers}")]);
    let page = search(&api, "AT&T", "").await;
    assert_eq!(highlighted(&page["hits"][0]), ["AT&T"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_sign_is_found_with_a_word_in_its_place() {
    let api = Api::new().await;
    for name in ["Johnson", "Johnson Capital", "Procter and Partners", "Bailleres Capital"] {
        api.made("lps", json!({"name": name})).await;
    }
    let johnson = api.made("lps", json!({"name": "Johnson & Johnson"})).await;
    let bank = api.made("lps", json!({"name": "Baillères & Treviño Casa de Bolsa"})).await;
    let spelt = api.made("lps", json!({"name": "Smith and Weston, Trustees"})).await;
    for (question, expected) in [
        ("johnson and johnson", johnson),
        ("Johnson & Johnson", johnson),
        ("Baillères y Treviño Casa de Bolsa", bank),
        ("bailleres y treviño", bank),
        ("Smith & Weston Trustees", spelt),
        ("Smith and Weston Trustees", spelt),
        ("what did Smith & Weston Trustees say of fees", spelt),
    ] {
        for mode in ["", "&mode=lexical"] {
            let found = found(&api, question, mode).await;
            assert_eq!(found.first(), Some(&format!("lp:{expected}")), "{question}: {found:?}");
        }
    }
}
