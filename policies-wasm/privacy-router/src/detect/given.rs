//! Given names: with one of them, weaker surroundings make a name certain enough.

use super::Hit;
use super::people::name_at;
use super::words::Endings;
use crate::text::{Cues, near, run};

/// Common ones of several languages, without those that are as often something else (`Paris`, `May`, `Grace`). In byte order.
#[rustfmt::skip]
const GIVEN: &[&str] = &[
    "Aaron", "Abdul", "Abigail", "Abraham", "Adam", "Adriana", "Adrien", "Agata", "Agnes", "Agnieszka", "Ahmed",
    "Aisha", "Akira", "Alain", "Alan", "Albert", "Alberto", "Alejandra", "Alejandro", "Aleksandr", "Alessandra",
    "Alessandro", "Alexander", "Alexandra", "Alexandre", "Alexei", "Alexey", "Alfonso", "Alfred", "Ali", "Alice",
    "Alicia", "Alina", "Aline", "Alison", "Amanda", "Amelia", "Amir", "Amit", "Amy", "Ana", "Anastasia", "Anders",
    "Andrea", "Andreas", "Andrei", "Andrew", "Andrzej", "Andrés", "Angela", "Angelika", "Anil", "Anita", "Anja",
    "Anjali", "Ann", "Anna", "Anne", "Annika", "Anthony", "Antoine", "Anton", "Antonella", "Antonio", "António",
    "Anusha", "Arjun", "Arnaud", "Arthur", "Astrid", "Aurélie", "Axel", "Ayşe", "Barbara", "Bartosz", "Beatrice",
    "Beatriz", "Benjamin", "Bernard", "Bernardo", "Bernd", "Bianca", "Birgit", "Björn", "Bob", "Boris", "Brandon",
    "Brenda", "Brian", "Bruno", "Camila", "Camille", "Carla", "Carlo", "Carlos", "Carmen", "Carol", "Caroline",
    "Catherine", "Cecilia", "Charles", "Chiamaka", "Chiara", "Chinedu", "Chloe", "Chloé", "Christian", "Christina",
    "Christine", "Christoph", "Christophe", "Christopher", "Claire", "Clara", "Claudia", "Claudio", "Connor",
    "Craig", "Cristina", "Cynthia", "Céline", "Daniel", "Daniela", "Daniele", "Danielle", "Darren", "David",
    "Deborah", "Deepak", "Denis", "Dennis", "Derek", "Diana", "Diane", "Diego", "Dieter", "Dmitri", "Dmitry",
    "Dominik", "Donald", "Donna", "Dorothy", "Douglas", "Eduardo", "Edward", "Ekaterina", "Eleanor", "Elena", "Elif",
    "Elisabeth", "Elizabeth", "Ella", "Emil", "Emily", "Emma", "Emmanuel", "Emre", "Eric", "Erik", "Erika",
    "Ernesto", "Esra", "Esther", "Ethan", "Eugene", "Eva", "Evelyn", "Evgeny", "Ewa", "Fabian", "Fatima", "Fatma",
    "Federico", "Felipe", "Fernanda", "Fernando", "Filip", "Filippo", "Florian", "Francesca", "Francesco", "Francis",
    "Francisco", "Franck", "Frank", "Franz", "François", "Fredrik", "Friedrich", "Fátima", "Gabriel", "Gabriela",
    "Gabriele", "Gary", "George", "Georgios", "Gerald", "Gerhard", "Gianluca", "Giorgio", "Giovanni", "Giulia",
    "Giuseppe", "Gonzalo", "Gordon", "Grzegorz", "Guillaume", "Gustavo", "Hanna", "Hannah", "Hans", "Harald",
    "Harold", "Harry", "Hassan", "Heather", "Heidi", "Heike", "Heinrich", "Heinz", "Helen", "Helena", "Helga",
    "Henrik", "Henry", "Hiroshi", "Holger", "Hugo", "Ibrahim", "Igor", "Ilse", "Ines", "Inga", "Ingrid", "Inés",
    "Irina", "Isabel", "Isabella", "Isabelle", "Ivan", "Jacqueline", "Jakob", "Jakub", "James", "Jan", "Jana",
    "Janet", "Janine", "Jason", "Javier", "Jean", "Jeffrey", "Jennifer", "Jens", "Jeremy", "Jessica", "Jin", "Joan",
    "Joana", "Joanna", "Joel", "Johan", "Johann", "Johanna", "Johannes", "John", "Jonas", "Jonathan", "Jorge",
    "Joseph", "Josephine", "Joshua", "José", "Joyce", "João", "Juan", "Juanita", "Judith", "Julia", "Julian",
    "Juliana", "Julie", "Julien", "Justin", "Jérôme", "Jürgen", "Kamil", "Karen", "Karin", "Karl", "Karolina",
    "Katarzyna", "Katharina", "Katherine", "Kathleen", "Katja", "Katrin", "Kazuo", "Keiko", "Keith", "Kelly",
    "Kenji", "Kenneth", "Kerstin", "Kevin", "Khalid", "Kimberly", "Klaus", "Krzysztof", "Kumar", "Kyle", "Lara",
    "Larissa", "Lars", "Laura", "Lauren", "Laurent", "Lea", "Leila", "Lena", "Leon", "Leonardo", "Leonie", "Leticia",
    "Linda", "Lisa", "Lorenzo", "Louis", "Louise", "Luca", "Lucas", "Lucia", "Lucía", "Luis", "Luisa", "Luiz",
    "Lukas", "Magdalena", "Magnus", "Mahmoud", "Maja", "Manuel", "Manuela", "Marc", "Marcel", "Marcelo", "Marcin",
    "Marco", "Marcos", "Marcus", "Margaret", "Maria", "Mariana", "Marie", "Marina", "Mario", "Marion", "Markus",
    "Marlene", "Marta", "Martha", "Marthe", "Martin", "Martina", "Mary", "María", "Mateusz", "Mathias", "Mathieu",
    "Matteo", "Matthew", "Matthias", "Maurice", "Max", "Maximilian", "Mehmet", "Mei", "Melanie", "Melissa",
    "Michael", "Michał", "Michel", "Michelle", "Miguel", "Mikael", "Mikhail", "Milan", "Mireille", "Mohamed",
    "Mohammed", "Monica", "Monika", "Morgan", "Mustafa", "Nadia", "Nadine", "Naomi", "Natalia", "Natalie", "Natasha",
    "Nathalie", "Nathan", "Neha", "Nicholas", "Nicola", "Nicolas", "Nicole", "Niklas", "Nikolai", "Nils", "Nina",
    "Noah", "Nora", "Norbert", "Oksana", "Oleg", "Olga", "Oliver", "Olivia", "Olivier", "Omar", "Oscar", "Oskar",
    "Pablo", "Pamela", "Paola", "Paolo", "Pascal", "Patricia", "Patrick", "Patrik", "Paul", "Paula", "Paulo",
    "Paweł", "Pedro", "Peter", "Petra", "Philip", "Philipp", "Philippe", "Pierre", "Piotr", "Priya", "Rachel",
    "Rafael", "Rahul", "Raj", "Rajesh", "Ralf", "Ramón", "Raphael", "Raúl", "Rebecca", "Regina", "Renate", "Ricardo",
    "Riccardo", "Richard", "Rita", "Robert", "Roberto", "Robin", "Rodrigo", "Roger", "Roland", "Roman", "Ronald",
    "Rosa", "Roxana", "Ruben", "Rudolf", "Russell", "Ruth", "Ryan", "Sabine", "Sabrina", "Salma", "Samantha",
    "Samuel", "Sandra", "Sandrine", "Sanjay", "Sara", "Sarah", "Satoshi", "Scott", "Sean", "Sebastian", "Sergei",
    "Sergio", "Shannon", "Sharon", "Sigrid", "Silke", "Silvia", "Simon", "Simone", "Sofia", "Sophia", "Sophie",
    "Stefan", "Stefania", "Stefano", "Steffen", "Stephanie", "Stephen", "Steven", "Sunita", "Susan", "Susanne",
    "Suzanne", "Sven", "Svetlana", "Sylvie", "Sébastien", "Takashi", "Tamara", "Tanja", "Tatiana", "Teresa",
    "Theresa", "Thierry", "Thomas", "Tiago", "Timothy", "Tobias", "Tom", "Tomasz", "Tomás", "Torsten", "Tracy",
    "Ulrich", "Ulrike", "Ursula", "Uwe", "Valentina", "Valeria", "Vanessa", "Vera", "Veronica", "Vicente", "Victor",
    "Viktor", "Vincent", "Vincenzo", "Vladimir", "Véronique", "Walter", "Wei", "Werner", "Wilhelm", "William",
    "Wojciech", "Wolfgang", "Xavier", "Yannick", "Yasmin", "Yolanda", "Yuki", "Yuri", "Yusuf", "Yves", "Yvonne",
    "Zoe", "Zofia", "Łukasz",
];

static ENDINGS: Endings = Endings::of(GIVEN);

/// Who is meant when somebody is spoken of like this.
#[rustfmt::skip]
const PEOPLE: Cues = Cues::new(&[
    "my", "our", "his", "her", "their", "customer", "client", "employee", "patient", "colleague", "coworker", "boss",
    "manager", "supervisor", "wife", "husband", "son", "daughter", "mother", "father", "sister", "brother", "friend",
    "neighbour", "neighbor", "roommate", "tenant", "landlord", "lawyer", "doctor", "nurse", "teacher", "student",
    "applicant", "candidate", "passenger", "guest", "cardholder", "holder", "beneficiary", "spouse", "fiancé",
    "recipient", "sender", "attendee", "assignee", "assigned to", "requester", "reporter", "reported by",
    "signed by", "sent by", "approved by", "submitted by", "filed by", "prepared by", "requested by", "reviewed by",
    "on behalf of", "belongs to", "addressed to", "ship to", "bill to", "deliver to", "contact", "attn", "attention",
    "spoke with", "spoke to", "talked to", "met", "meeting with", "call with", "call from", "email from",
    "letter from", "message from", "i'm", "i am", "this is", "regards", "sincerely",
    "cheers", "thanks", "best", "yours", "madame", "monsieur", "señor", "señora", "signor", "signora", "senhor",
    "mevrouw", "meneer", "ich bin", "je suis", "soy", "sono", "sou", "kunde", "kundin", "patientin", "kollege",
    "kollegin", "cliente", "paciente", "paziente", "client", "kontakt", "unterschrift", "firmado por", "signé par",
]);
/// After them a capitalised pair is no person.
const NO_SURNAMES: &[&[u8]] = &[
    b"Street",
    b"University",
    b"College",
    b"School",
    b"Institute",
    b"Hospital",
    b"Airport",
    b"Beach",
    b"City",
    b"County",
    b"Park",
    b"River",
    b"Lake",
    b"Island",
    b"Bridge",
    b"Prize",
    b"Award",
    b"Foundation",
    b"Inc",
    b"Ltd",
    b"Corp",
    b"Center",
    b"Centre",
    b"Museum",
    b"Church",
    b"Station",
    b"Theorem",
    b"Algorithm",
    b"Method",
    b"Bay",
    b"Square",
    b"House",
    b"Hall",
    b"Cup",
];

/// The name that the word at `start..end` begins, if that is a given name among words that speak of people.
pub fn name(text: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let word = &text[start..end];
    let next = *text.get(end + 1)?;
    if text[end] != b' '
        || !(next.is_ascii_uppercase() || next >= 0x80 || next.is_ascii_lowercase())
        || word.len() > 12
        || !ENDINGS.may_have(word)
    {
        return None;
    }
    GIVEN.binary_search_by(|name| name.as_bytes().cmp(word)).ok()?;
    if !near(text, start, 28, &PEOPLE) {
        return None;
    }
    let last = run(text, end + 1, |b| b.is_ascii_alphabetic() || b >= 0x80);
    if NO_SURNAMES.contains(&&text[end + 1..last]) {
        return None;
    }
    name_at(text, start, 2)
}

#[cfg(test)]
#[test]
fn names_are_in_order() {
    assert!(GIVEN.is_sorted(), "binary search needs them in byte order");
}
