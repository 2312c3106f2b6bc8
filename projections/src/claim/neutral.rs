//! Words of a sentence that claim nothing by themselves, and names that are others in the other language. All of it folded.

/// Months, days, how people are addressed, sums, words for saying and asking, and what records are called: they are in all answers,
/// whatever is answered.
const MUTE: &str = "abr abril ago agosto apr april aug august dec december dic diciembre domingo ene enero feb febrero february friday jan \
    january jueves jul julio july jun june junio lunes march martes marzo may mayo miercoles monday nov november noviembre \
    oct october octubre sabado saturday sep sept september septiembre sunday thursday tuesday viernes wednesday \
    don dona dr dra ing lic mr mrs ms sr sra srta ud uds \
    billion billions mdd mdp mil million millions millon millones percent thousand \
    according ask asked asking asks comentaron comento dice dicen dijeron dijo discuss discussed explain explained \
    explicaron explico fuente fuentes hablaron hablo indicaron indico menciona mencionaron menciono mention mentioned \
    mentions pedir pidieron pidio pregunta preguntan preguntar preguntaron pregunto quiere quieren report reported say \
    saying says segun senalaron senalo source sources spoke state stated talked tell told want wanted wants \
    distribuidor distribuidores distributor distributors fondo fondos fund funds gp gps inversionista inversionistas \
    investor investors lp lps nota notas note notes people person persona personas roadshow roadshows todo todos";

/// Money: words like others, which some write with a capital.
const MONEY: &str = "dolar dolares dollar dollars eur euro euros gbp mxn peso pesos usd";

/// Words of names that English and Spanish write otherwise, and no forms of one word.
const TRANSLATED: &[&[&str]] = &[
    &["bank", "banco"],
    &["brazil", "brasil", "brazilian", "brasileno", "brasilena"],
    &["cdmx", "city", "ciudad"],
    &["english", "ingles", "inglesa"],
    &["esg", "asg"],
    &["gdp", "pib"],
    &["germany", "german", "alemania", "aleman", "alemana"],
    &["irr", "tir"],
    &["japan", "japon"],
    &["kingdom", "reino", "uk"],
    &["london", "londres"],
    &["netherlands", "holanda"],
    &["new", "nueva", "nuevo"],
    &["north", "norte"],
    &["south", "sur"],
    &["spain", "espana", "spanish", "espanol", "espanola"],
    &["states", "estados", "us", "usa", "eeuu", "american", "americans"],
    &["switzerland", "swiss", "suiza", "suizo"],
    &["treasury", "hacienda"],
    &["united", "unidos", "unido"],
    &["vat", "iva"],
];

/// Whether a folded word claims nothing.
pub(super) fn is_mute(word: &str) -> bool {
    is_listed(word, MUTE)
}

/// Whether a folded word is one for money, and so no name.
pub(super) fn is_money(word: &str) -> bool {
    is_listed(word, MONEY)
}

/// What else a folded word of a name may be written as.
pub(super) fn translations(word: &str) -> impl Iterator<Item = &'static str> {
    let group = TRANSLATED.iter().find(|group| group.contains(&word));
    group.into_iter().flat_map(|group| group.iter().copied())
}

fn is_listed(word: &str, list: &str) -> bool {
    list.split(' ').any(|it| it == word)
}
