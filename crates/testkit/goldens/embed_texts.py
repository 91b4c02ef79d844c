"""200 texts in twelve languages, from one word to far beyond what the models read; the same on every machine."""

import random

BANK = {
    "en": ["The harbour freezes over in January, and the ferries stop.", "She asked for the price of the blue bicycle.",
           "Photosynthesis turns light into chemical energy.", "Nobody had expected the bridge to be finished early.",
           "Version 2.14.3 fixes a crash when e-mail attachments exceed 25 MB (see §4)."],
    "de": ["Im Januar friert der Hafen zu, und die Fähren fahren nicht.", "Über dem Fluss hängt dichter Nebel.",
           "Die Straßenbahn hält nicht mehr vor dem Rathaus.", "Was kostet das größere Zimmer mit Frühstück?",
           "Donaudampfschifffahrtsgesellschaftskapitän ist ein langes Wort."],
    "fr": ["L'hiver, le port gèle et les bateaux restent à quai.", "Où se trouve la bibliothèque municipale ?",
           "L'œuvre a été achevée après la mort de l'auteur.", "Ça n'a pas plu à tout le monde, hélas.",
           "Le théorème se démontre par récurrence sur n."],
    "es": ["El puerto se congela en enero y los barcos no salen.", "¿Cuánto cuesta la habitación con desayuno?",
           "La niña soñaba con pingüinos y montañas.", "El río creció después de tres días de lluvia.",
           "Mañana por la mañana revisaremos los datos."],
    "ru": ["В январе гавань замерзает, и паромы не ходят.", "Сколько стоит билет до Новосибирска?",
           "Ёжик шёл сквозь густой туман к реке.", "Теорема доказывается по индукции.",
           "Никто не ожидал, что мост построят раньше срока."],
    "el": ["Τον Ιανουάριο το λιμάνι παγώνει και τα πλοία σταματούν.", "Πόσο κοστίζει το εισιτήριο για την Αθήνα;",
           "Η φωτοσύνθεση μετατρέπει το φως σε ενέργεια.", "Κανείς δεν περίμενε τέτοια βροχή.",
           "Το βιβλίο γράφτηκε πριν από εκατό χρόνια."],
    "ar": ["يتجمد الميناء في شهر يناير وتتوقف العبّارات.", "كم سعر الغرفة مع الإفطار؟",
           "تُحوِّل النباتات ضوء الشمس إلى طاقة.", "لم يتوقع أحد أن ينتهي الجسر مبكرًا.",
           "قرأت الكتاب مرتين في الصيف الماضي."],
    "hi": ["जनवरी में बंदरगाह जम जाता है और नौकाएँ रुक जाती हैं।", "नाश्ते के साथ कमरे का किराया कितना है?",
           "पौधे सूर्य के प्रकाश को ऊर्जा में बदलते हैं।", "किसी ने नहीं सोचा था कि पुल जल्दी बन जाएगा।",
           "उसने पिछली गर्मियों में यह किताब दो बार पढ़ी।"],
    "zh": ["一月港口结冰，渡轮停航。", "请问带早餐的房间多少钱？", "植物通过光合作用把光能转化为化学能。",
           "没有人料到大桥会提前完工。", "他去年夏天把这本书读了两遍。"],
    "ja": ["一月になると港が凍り、フェリーは止まります。", "朝食付きの部屋はいくらですか。",
           "光合成は光を化学エネルギーに変える。", "橋が予定より早く完成するとは誰も思わなかった。",
           "ﾊﾝｶｸのカタカナとｆｕｌｌｗｉｄｔｈの英字。"],
    "ko": ["1월에는 항구가 얼어붙어 여객선이 멈춘다.", "아침 식사가 포함된 방은 얼마입니까?",
           "식물은 빛을 화학 에너지로 바꾼다.", "다리가 일찍 완공될 줄은 아무도 몰랐다.",
           "그는 지난여름에 그 책을 두 번 읽었다."],
    "tr": ["Ocak ayında liman donar ve vapurlar çalışmaz.", "Kahvaltı dahil odanın fiyatı ne kadar?",
           "IĞDIR'da kış uzun, yaz kısa sürer.", "Köprünün erken biteceğini kimse beklemiyordu.",
           "Geçen yaz o kitabı iki kez okudum."],
}
ODD = [
    "a", "!", "...", "42", "  two  spaces\tand\na line  ", "cafe\u0301 caf\u00e9 na\u00efve nai\u0308ve", "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "https://example.org/a?b=c&d=%20#e", "fn main() { println!(\"{:?}\", x); }", "\u00bd \u2116 \ufb01 \u00b2 \u2167",
    "x" * 300, "\u200bzero\u200dwidth\u00a0and\u2009thin",
]
SENTENCES = (1, 1, 2, 3, 5, 8, 13, 21, 40, 90)
COUNT = 200


def texts():
    """Odd ones first, then languages in turn, then texts of many languages."""
    rng = random.Random(20240607)
    made = list(ODD)
    languages = list(BANK)
    while len(made) < COUNT:
        index = len(made) - len(ODD)
        language = languages[index % len(languages)]
        count = SENTENCES[index // len(languages) % len(SENTENCES)]
        bank = BANK[language] if rng.random() < 0.9 else sum(BANK.values(), [])
        text = " ".join(rng.choice(bank) for _ in range(count))
        if index % 10 == 3:
            text = " ".join(text.split()[:1 + index % 3])
        made.append(text)
    return made
