# What a person does in a real browser. What is seen on the pages goes to standard output, a line each.
#
#     browser.py login|deny URL          the page that the command line opened
#     browser.py device URL CODE         a provider's page for logins of other machines
import sys
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

options = webdriver.ChromeOptions()
options.binary_location = '/usr/bin/chromium'
for argument in ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--no-proxy-server']:
    options.add_argument(argument)
driver = webdriver.Chrome(options, Service('/usr/bin/chromedriver'))

def find(selector):
    return WebDriverWait(driver, 60).until(lambda driver: driver.find_element(By.CSS_SELECTOR, selector))

def log_in():
    find('#id_username').send_keys('alice')
    find('#id_password').send_keys('correct horse')
    find('#login').click()

try:
    what, url = sys.argv[1:3]
    driver.get(url)
    if what == 'device':
        log_in()
        find('#id_user_code').send_keys(sys.argv[3])
        find('button[type=submit]').click()
        find('button[value=accept]').click()
        WebDriverWait(driver, 60).until(lambda driver: 'device-grant-status' in driver.current_url)
    else:
        print('shown', find('#code').text, flush=True)
        find('#go').click()
        log_in()
        find('input[name=allow]' if what == 'login' else 'input[type=submit]:not([name=allow])').click()
        print('ended', find('#code' if what == 'login' else '#why').text, flush=True)
finally:
    driver.quit()
