"""What detect-secrets and Presidio's pattern recognizers find in labelled requests.

peers.py CASES.jsonl SPLIT OUTPUT_DIRECTORY — writes <finder>.<split>.jsonl for each that is installed.
Presidio runs without a language model: its pattern recognizers alone, hits of score 0.4 and more (its weaker ones
count only where its language model finds a word of context).
"""
import json
import logging
import sys

logging.disable(logging.CRITICAL)

# Presidio's entities by the router's names.
ENTITIES = {
    "CREDIT_CARD": "payment_card", "IBAN_CODE": "iban", "US_SSN": "us_ssn", "UK_NINO": "uk_nino", "UK_NHS": "uk_nhs",
    "DE_TAX_ID": "de_tax_id", "FR_NIR": "fr_nir", "ES_NIF": "es_dni", "ES_NIE": "es_dni",
    "IT_FISCAL_CODE": "it_codice_fiscale", "IN_AADHAAR": "in_aadhaar", "IN_PAN": "in_pan", "AU_TFN": "au_tfn",
    "PL_PESEL": "pl_pesel", "SE_PERSONNUMMER": "se_personnummer", "FI_PERSONAL_IDENTITY_CODE": "fi_hetu",
    "KR_RRN": "kr_rrn", "TR_NATIONAL_ID": "tr_kimlik", "CA_SIN": "ca_sin", "ABA_ROUTING_NUMBER": "bank_account",
    "US_BANK_NUMBER": "bank_account", "US_PASSPORT": "passport", "US_DRIVER_LICENSE": "driver_licence",
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip_address", "MAC_ADDRESS": "mac_address",
}


def detect_secrets():
    import os
    import tempfile
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "request.txt")

    def find(text):
        # As people use it: files, with its default plugins and filters.
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        secrets = SecretsCollection()
        with default_settings():
            secrets.scan_file(path)
        return ["any secret"] if secrets.files else []

    return find


def presidio():
    import inspect
    from presidio_analyzer import PatternRecognizer, predefined_recognizers as predefined
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    recognizers = []
    for _, made in inspect.getmembers(predefined, inspect.isclass):
        if made is PatternRecognizer or not (issubclass(made, PatternRecognizer) or made is PhoneRecognizer):
            continue
        try:
            recognizer = made()
        except Exception:
            continue
        if set(recognizer.supported_entities) & set(ENTITIES):
            recognizers.append(recognizer)

    def find(text):
        kinds = set()
        for recognizer in recognizers:
            try:
                hits = recognizer.analyze(text, recognizer.supported_entities, None)
            except Exception:
                continue
            kinds.update(ENTITIES[h.entity_type] for h in hits or [] if h.score >= 0.4 and h.entity_type in ENTITIES)
        return sorted(kinds)

    return find


def main():
    path, split, directory = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    for name, prepare in (("detect-secrets", detect_secrets), ("presidio", presidio)):
        try:
            find = prepare()
        except ImportError as error:
            print(f"{name} is not installed: {error}", file=sys.stderr)
            continue
        with open(f"{directory}/{name}.{split}.jsonl", "w", encoding="utf-8") as out:
            for case in cases:
                kinds = find("\n".join(case["messages"]))
                out.write(json.dumps({"id": case["id"], "kinds": kinds}) + "\n")


main()
