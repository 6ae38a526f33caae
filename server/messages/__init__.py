"""Every sentence a person reads, in Chinese (as documented) and in English.

Rule: the database and the errors carry codes and parameters only; a sentence is made here, when it is read,
in the language of its reader. The Chinese sentences of the documented API are a contract and never change.
"""

from server.messages.language import LANGUAGES as LANGUAGES
from server.messages.language import Language as Language
from server.messages.language import negotiate as negotiate
from server.messages.processing import REMARKS as REMARKS
from server.messages.sentences import CODES as CODES
from server.messages.sentences import Param as Param
from server.messages.sentences import sentence as sentence
from server.messages.sentences import size as size
from server.messages.sentences import templates as templates
